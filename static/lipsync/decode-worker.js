// Decodes off the main thread: the JPEG of a mouth and the idle frame it belongs on, together.
// Keeps the idle frames' JPEGs (not their bitmaps) within a budget of bytes.
//
// in:  {id, url?, image?: ArrayBuffer}   decode; url: the idle frame, image: the mouth
//      {prefetch: string[]}              fetch idle frames ahead of need
// out: {id, face?: ImageBitmap, mouth?: ImageBitmap} or {id, error}

/** Bytes of compressed idle frames kept. */
const CACHE_BUDGET = 48 << 20;
/** Idle frames fetched at the same time while prefetching. */
const PARALLEL_FETCHES = 3;

const cache = new Map(); // url → Blob, or a promise of one; oldest use first
let cachedBytes = 0;

async function idleFrame(url) {
  let entry = cache.get(url);
  if (entry !== undefined) {
    cache.delete(url);
    cache.set(url, entry);
    return entry;
  }
  entry = fetchFrame(url);
  cache.set(url, entry);
  try {
    const blob = await entry;
    cache.set(url, blob);
    cachedBytes += blob.size;
    for (const [old, value] of cache) {
      if (cachedBytes <= CACHE_BUDGET) break;
      if (!(value instanceof Blob) || old === url) continue;
      cache.delete(old);
      cachedBytes -= value.size;
    }
    return blob;
  } catch (error) {
    cache.delete(url);
    throw error;
  }
}

async function fetchFrame(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return response.blob();
}

async function prefetch(urls) {
  const queue = [...urls];
  const work = async () => {
    while (queue.length > 0 && cachedBytes < CACHE_BUDGET) {
      try {
        await idleFrame(queue.shift());
      } catch {
        return; // the server is gone; frames are fetched again when they are needed
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL_FETCHES }, work));
}

async function decode({ id, url, image }) {
  const wanted = [
    url ? idleFrame(url).then((blob) => createImageBitmap(blob)) : undefined,
    image ? createImageBitmap(new Blob([image], { type: "image/jpeg" })) : undefined,
  ];
  const [face, mouth] = await Promise.allSettled(wanted);
  const failed = [face, mouth].find((result) => result.status === "rejected");
  if (failed) {
    face.value?.close();
    mouth.value?.close();
    return postMessage({ id, error: String(failed.reason?.message ?? failed.reason) });
  }
  const bitmaps = [face.value, mouth.value].filter(Boolean);
  postMessage({ id, face: face.value, mouth: mouth.value }, bitmaps);
}

onmessage = ({ data }) => {
  if (data.prefetch) prefetch(data.prefetch);
  else decode(data);
};
