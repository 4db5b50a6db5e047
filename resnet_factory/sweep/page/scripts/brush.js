// Sets the filters of what a drag covers: of the histogram's column, or of axes of the parallel coordinates.
// After a double click, which covers nothing, takes them back.
const {x0 = cb_obj.x, x1 = cb_obj.x, y0, y1} = cb_obj.geometry ?? {}
const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)], near = Math.round((left + right) / 2)
const inside = (_, k) => Math.ceil(left) > Math.floor(right) ? k === near : left <= k && k <= right
const scaled = ({name, low, high}) => [name, ...[Math.min(y0, y1), Math.max(y0, y1)].map((y) => low + y * (high - low))]
for (let [name, low, high] of axes === null ? [[column.value, left, right]] : axes.filter(inside).map(scaled)) {
  const {names, whole, log} = columns[name], range = ranges[name], choice = choices[name]
  if (!cb_obj.geometry) [low, high] = [-Infinity, Infinity]
  const half = axes === null ? 0.5 : 0  // a bar that is touched is meant
  if (whole && !log) [low, high] = [Math.ceil(low - half), Math.floor(high + half)]
  if (low > high) continue
  if (range) range.value = [Math.min(Math.max(low, range.start), range.end), Math.max(Math.min(high, range.end), range.start)]
  if (choice) {
    const taken = names.filter((_, k) => low <= k && k <= high)
    choice.value = taken.length < names.length ? taken : []
  }
}
keep.execute(source)
