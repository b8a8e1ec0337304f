// A file that the kernel sent, for the reader to keep.

/** ms that a browser may take to begin with it. */
const KEPT_MS = 60_000;

export function saveFile(file: File): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS);
}
