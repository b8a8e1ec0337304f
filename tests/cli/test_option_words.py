"""Messages at a shell speak of its options."""

from __future__ import annotations

import pytest

from livedb.cli.option_words import in_options


@pytest.mark.parametrize(
    "python, option",
    [
        ("pass overwrite=True to replace it.", "pass --overwrite to replace it."),
        ('pass ids="new" to leave them out', "pass --ids new to leave them out"),
        ("pass null_values=['n]a'].", "pass --null 'n]a'."),
        ('in, such as tz="Asia/Tokyo" or tz="UTC".', "in, such as --tz Asia/Tokyo or --tz UTC."),
        ("or load 'a' with new ids", "or import 'a' with --ids new"),
        ("livedb.repair(path) says what is left", "`livedb repair PATH` says what is left"),
        ("load the file with db.load.", "load the file with `livedb import`."),
        ("of 'overwrite=False' nothing is said", "of 'overwrite=False' nothing is said"),
    ],
)
def test_arguments_of_functions_become_options(python, option):
    assert in_options(python) == option
