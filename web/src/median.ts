// The value at a place of sorted numbers, without sorting them: Hoare's selection, which takes as long as a few looks at each.

/** Return the value that would be at a place if the first so many values were sorted; it reorders them. */
export function selected(values: Float64Array, count: number, place: number): number {
  let low = 0;
  let high = count - 1;
  while (low < high) {
    const pivot = values[(low + high) >> 1];
    let left = low;
    let right = high;
    while (left <= right) {
      while (values[left] < pivot) left++;
      while (values[right] > pivot) right--;
      if (left <= right) {
        const value = values[left];
        values[left++] = values[right];
        values[right--] = value;
      }
    }
    if (place <= right) high = right;
    else if (place >= left) low = left;
    else break;
  }
  return values[place];
}

/** Return the median of the first so many values, none of which is NaN; NaN if there is none. It reorders them. */
export function median(values: Float64Array, count: number): number {
  if (count === 0) return NaN;
  const middle = count >> 1;
  const upper = selected(values, count, middle);
  if (count % 2) return upper;
  let lower = values[0];
  for (let place = 1; place < middle; place++) if (values[place] > lower) lower = values[place];
  return (lower + upper) / 2;
}
