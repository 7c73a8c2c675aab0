// Which avatar frame belongs to which number.

/** Walks `count` frames to and fro: 0 1 2 … n-1 n-2 … 1 0 1 …, as the server does. */
export function pingPong(number, count) {
  if (count <= 1) return 0;
  const period = pingPongPeriod(count);
  const step = ((number % period) + period) % period;
  return step < count ? step : period - step;
}

/** After how many frames the walk to and fro repeats. */
export function pingPongPeriod(count) {
  return count <= 1 ? 1 : 2 * count - 2;
}
