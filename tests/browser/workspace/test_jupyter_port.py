"""A notebook's kernel and somebody who comes by the server's own port: one workspace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal

import pytest
from playwright.sync_api import expect

import livedb
from livedb.commitlog.lock import WorkspaceLock

pytestmark = pytest.mark.browser

OPEN = """\
import livedb
from livedb import Id, MutationContext
db = livedb.open('ponds.livedb', shared=True)

@db.table("sightings")
class Sighting:
    species: str
    by: str

@db.mutation
def report(ctx: MutationContext, species: str, by: str) -> Id[Sighting]:
    return ctx.db.insert("sightings", {"species": species, "by": by})
"""

SHOW = "seen = db['sightings'].live()\nseen"

# A page of the server has its cookie, as an extension of JupyterLab would.
LISTED = """async () => {
    const {baseUrl} = window.jupyterapp.serviceManager.serverSettings;
    const answer = await fetch(baseUrl + 'livedb/', {headers: {accept: 'application/json'}});
    return (await answer.json()).workspaces;
}"""

HEARD = """async (name) => {
    const {wsUrl} = window.jupyterapp.serviceManager.serverSettings;
    const socket = new WebSocket(`${wsUrl}livedb/${name}/api/1.48.0/sync`);
    await new Promise((resolve, reject) => {
        socket.onopen = resolve;
        socket.onerror = () => reject(new Error('refused'));
    });
    const say = (message) => socket.send(JSON.stringify(message));
    say({type: 'Connect', sessionId: 'page', connectionCount: 0, lastCloseReason: null});
    say({type: 'Mutation', requestId: 0, udfPath: 'report',
         args: [{species: 'Coot', by: 'the page'}]});
    return new Promise((resolve) => {
        socket.onmessage = ({data}) => {
            const message = JSON.parse(data);
            if (message.type !== 'MutationResponse') return;
            socket.close();
            resolve(message.success);
        };
    });
}"""


@pytest.fixture
def ponds(lab):
    folder = lab.root / "ponds.livedb"
    shutil.rmtree(folder, ignore_errors=True)
    yield folder
    holder = WorkspaceLock(folder).holder()
    if holder is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder.pid, signal.SIGTERM)


def test_a_commit_of_a_notebook_reaches_who_comes_by_the_servers_port(lab, ponds, open_notebook):
    page = open_notebook("ponds", OPEN, SHOW, "report(species='Heron', by='Ana')")
    page.run_all()
    rows = page.output(1).locator(".livedb tbody tr")
    expect(rows).to_have_count(1)
    with livedb.connect(f"{lab.url}livedb/{ponds.name}", jupyter_token=lab.token) as db:
        assert [row["species"] for row in db["sightings"].collect()] == ["Heron"]
        db.function("report")(species="Wren", by="Ben")
        expect(rows).to_have_count(2)
        seen = db["sightings"].live()
        page.execute("report(species='Teal', by='Ana')")
        assert len(seen) == 3  # read after the commit was acknowledged, so it has it
        assert {row["by"] for row in db["sightings"].collect()} == {"Ana", "Ben"}
        expect(rows).to_have_count(3)
    # The page itself, by its cookie.
    [listed] = [each for each in page.page.evaluate(LISTED) if each["name"] == ponds.name]
    assert (listed["running"], listed["state"]) == (True, "served")
    assert page.page.evaluate(HEARD, ponds.name) is True
    expect(rows).to_have_count(4)
