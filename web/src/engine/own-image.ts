/** A picture of the person's own as red, green, blue and alpha. */

export interface OwnImage {
  name: string;
  width: number;
  height: number;
  rgba: Uint8Array;
}

/** As the engine: 8,192 by 8,192. */
const MAX_PIXELS = 1 << 26;
/** Of a larger picture the middle square is brought to so many pixels a side by the browser. */
const MAX_SIDE = 1024;

/** Reads a file as a picture; an error is one sentence. */
export async function readImage(file: File): Promise<OwnImage> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(
      `${file.name} cannot be read as an image: choose a whole PNG, JPEG, WebP or GIF file that this browser can show`,
    );
  }
  try {
    const { width, height } = bitmap;
    if (width * height > MAX_PIXELS)
      throw new Error(
        `${file.name} is ${width} by ${height} pixels where at most ${MAX_PIXELS} in all are read: make it smaller`,
      );
    const from = Math.min(width, height);
    const small = from <= MAX_SIDE;
    const [toWidth, toHeight] = small ? [width, height] : [MAX_SIDE, MAX_SIDE];
    const longest = Math.max(toWidth, toHeight);
    // A long strip is cut to its middle too: nothing else of it is read.
    const [w, h] = longest > MAX_SIDE ? [from, from] : [toWidth, toHeight];
    const canvas = new OffscreenCanvas(w, h);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    if (!context) throw new Error('this browser gives no canvas to read an image with: use another one');
    context.imageSmoothingQuality = 'high';
    if (small && longest <= MAX_SIDE) context.drawImage(bitmap, 0, 0);
    else context.drawImage(bitmap, (width - from) / 2, (height - from) / 2, from, from, 0, 0, w, h);
    const { data } = context.getImageData(0, 0, w, h);
    return { name: file.name, width: w, height: h, rgba: new Uint8Array(data.buffer) };
  } finally {
    bitmap.close();
  }
}
