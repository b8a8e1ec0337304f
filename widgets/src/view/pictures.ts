// Pictures that the kernel has: asked for when their cells come into sight, the last ones first, a few at a
// time, and kept while there is room.

import type { FetchStored } from "../model/formats.js";

export interface Pictures {
  /** Show the picture of this name in `image` once that is in sight; `fail` if there is none. */
  show(image: HTMLImageElement, name: string, fail: () => void): void;
}

/** Requests under way; each is a thread of the kernel and a message as large as its picture. */
const UNDER_WAY_MAX = 2;

/** Bytes of pictures that a table keeps for cells that come into sight again. */
const KEPT_BYTES_MAX = 32 << 20;

interface Wanted {
  name: string;
  fail: () => void;
}

export function createPictures(fetch: FetchStored, signal: AbortSignal): Pictures {
  const wanted = new WeakMap<Element, Wanted>();
  /** Images in sight that wait, by name; those that came last are last. */
  const waiting = new Map<string, Set<HTMLImageElement>>();
  /** From the least recently used on. */
  const kept = new Map<string, { url: string; bytes: number }>();
  const underWay = new Set<string>();

  const sight = typeof IntersectionObserver === "undefined" ? null : new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) if (isIntersecting) want(target as HTMLImageElement);
  });

  const want = (image: HTMLImageElement): void => {
    sight?.unobserve(image);
    const name = wanted.get(image)?.name;
    if (name === undefined) return;
    const known = kept.get(name);
    if (known !== undefined) return put(image, name, known);
    const images = waiting.get(name) ?? new Set();
    waiting.delete(name);
    waiting.set(name, images.add(image));
    pump();
  };

  const put = (image: HTMLImageElement, name: string, picture: { url: string; bytes: number }): void => {
    kept.delete(name);
    kept.set(name, picture);
    image.src = picture.url;
  };

  const pump = (): void => {
    while (underWay.size < UNDER_WAY_MAX && !signal.aborted) {
      const next = [...waiting.keys()].filter((name) => !underWay.has(name)).at(-1);
      if (next === undefined) return;
      if (isInSight(next)) void load(next);
      else waiting.delete(next); // scrolled away; whoever draws it again asks again
    }
  };

  const isInSight = (name: string): boolean => [...(waiting.get(name) ?? [])].some((each) => each.isConnected);

  const load = async (name: string): Promise<void> => {
    underWay.add(name);
    let picture: { url: string; bytes: number } | null = null;
    try {
      const blob = await fetch(name);
      if (!signal.aborted) picture = { url: URL.createObjectURL(blob), bytes: blob.size };
    } catch {} // no picture, or nobody who has it: the value says what it is
    underWay.delete(name);
    const images = waiting.get(name) ?? new Set();
    waiting.delete(name);
    for (const image of images) {
      if (picture === null) wanted.get(image)?.fail();
      else put(image, name, picture);
    }
    if (picture !== null) {
      kept.set(name, picture);
      makeRoom();
    }
    pump();
  };

  /** An image that shows what goes has loaded it. */
  const makeRoom = (): void => {
    let bytes = [...kept.values()].reduce((sum, each) => sum + each.bytes, 0);
    for (const [name, picture] of kept) {
      if (bytes <= KEPT_BYTES_MAX || kept.size === 1) return;
      bytes -= picture.bytes;
      kept.delete(name);
      URL.revokeObjectURL(picture.url);
    }
  };

  signal.addEventListener("abort", () => {
    sight?.disconnect();
    for (const { url } of kept.values()) URL.revokeObjectURL(url);
    kept.clear();
    waiting.clear();
  });

  return {
    show: (image, name, fail) => {
      wanted.set(image, { name, fail });
      if (sight === null) queueMicrotask(() => want(image));
      else sight.observe(image);
    },
  };
}
