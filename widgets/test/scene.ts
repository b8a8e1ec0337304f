// A test's clock, and the signal that ends what it drew.

import { afterEach, beforeEach, vi } from "vitest";

/** Timers go on when a test says; at its end what it drew is aborted and gone. Gives the signal of the test. */
export function scene(): () => AbortSignal {
  let end: AbortController;
  beforeEach(() => {
    vi.useFakeTimers();
    end = new AbortController();
  });
  afterEach(() => {
    end.abort();
    vi.useRealTimers();
    globalThis.document?.body.replaceChildren();
  });
  return () => end.signal;
}
