// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createPictures } from "../src/view/pictures.js";

/** As a browser's: it tells of what comes into sight, and again only of what is observed anew. */
class Sight {
  static now: Sight;
  readonly observed = new Set<Element>();
  readonly tell: (seen: { target: Element; isIntersecting: boolean }[]) => void;

  constructor(tell: Sight["tell"]) {
    this.tell = tell;
    Sight.now = this;
  }
  observe(element: Element): void {
    this.observed.add(element);
  }
  unobserve(element: Element): void {
    this.observed.delete(element);
  }
  disconnect(): void {
    this.observed.clear();
  }
}

let asked: { name: string; give: (blob: Blob) => void; refuse: () => void }[] = [];
const fetch = (name: string): Promise<Blob> =>
  new Promise((give, reject) => asked.push({ name, give, refuse: () => reject(new Error("none")) }));

let made = 0;
const revoked: string[] = [];

beforeEach(() => {
  asked = [];
  revoked.length = 0;
  vi.stubGlobal("IntersectionObserver", Sight);
  vi.spyOn(URL, "createObjectURL").mockImplementation(() => `blob:${++made}`);
  vi.spyOn(URL, "revokeObjectURL").mockImplementation((url) => void revoked.push(url));
});
afterEach(() => {
  vi.restoreAllMocks();
  document.body.replaceChildren();
});

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));
const blobOf = (bytes: number): Blob => ({ size: bytes }) as Blob;

function imageIn(): HTMLImageElement {
  return document.body.appendChild(document.createElement("img"));
}

function setUp(): { pictures: ReturnType<typeof createPictures>; end: () => void; see: (...images: HTMLImageElement[]) => void } {
  const ender = new AbortController();
  const pictures = createPictures(fetch, ender.signal);
  return { pictures, end: () => ender.abort(), see: (...images) => Sight.now.tell(images.map((target) => ({ target, isIntersecting: true }))) };
}

test("what is not in sight is not asked for, and what is shown twice is asked for once", async () => {
  const { pictures, see } = setUp();
  const [one, other, far] = [imageIn(), imageIn(), imageIn()];
  for (const image of [one, other]) pictures.show(image, "a", () => {});
  pictures.show(far, "b", () => {});
  see(one, other);
  expect(asked.map(({ name }) => name)).toEqual(["a"]);
  asked[0]?.give(blobOf(10));
  await settle();
  expect([one.src, other.src, far.hasAttribute("src")]).toEqual([one.src, one.src, false]);
  expect(one.src).toMatch(/^blob:/);
  const again = imageIn(); // its row was scrolled away and came back
  pictures.show(again, "a", () => {});
  see(again);
  expect([again.src, asked.length]).toEqual([one.src, 1]);
});

test("two are under way at a time, the last seen come first, and what was scrolled away is not asked for", async () => {
  const { pictures, see } = setUp();
  const images = ["a", "b", "c", "d", "e"].map((name) => {
    const image = imageIn();
    pictures.show(image, name, () => {});
    return image;
  });
  see(...images);
  expect(asked.map(({ name }) => name)).toEqual(["a", "b"]);
  images[4]?.remove();
  asked[0]?.give(blobOf(1));
  await settle();
  expect(asked.map(({ name }) => name)).toEqual(["a", "b", "d"]);
  asked[1]?.refuse();
  asked[2]?.give(blobOf(1));
  await settle();
  expect(asked.map(({ name }) => name)).toEqual(["a", "b", "d", "c"]);
});

test("who has no picture is told, and asks again when it is drawn again", async () => {
  const { pictures, see } = setUp();
  const fail = vi.fn();
  const image = imageIn();
  pictures.show(image, "a", fail);
  see(image);
  asked[0]?.refuse();
  await settle();
  expect(fail).toHaveBeenCalledOnce();
  const later = imageIn();
  pictures.show(later, "a", fail);
  see(later);
  expect(asked).toHaveLength(2);
});

test("pictures are kept up to a size, the least recently used go, and none outlives its table", async () => {
  const { pictures, see, end } = setUp();
  const give = async (name: string, bytes: number): Promise<string> => {
    const image = imageIn();
    pictures.show(image, name, () => {});
    see(image);
    asked.at(-1)?.give(blobOf(bytes));
    await settle();
    return image.src;
  };
  const [a, b] = [await give("a", 20 << 20), await give("b", 10 << 20)];
  const again = imageIn();
  pictures.show(again, "a", () => {});
  see(again); // "b" is the one that nobody has used for longest
  const c = await give("c", 5 << 20);
  expect(revoked).toEqual([b]);
  end();
  expect(revoked).toEqual([b, a, c]);
});
