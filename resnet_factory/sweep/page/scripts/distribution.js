// Counts one column: a histogram and an EDF of all rows and of those shown, or of those shown of each group.
const {data} = source, name = column.value, {log, names, label, whole} = columns[name]
const at = (i) => log ? Math.log10(data[name][i]) : data[name][i]
const known = (rows) => Float64Array.from(rows, at).filter(Number.isFinite).sort()
const every = [...data.recipe.keys()]
const seen = shown.indices ?? every
const all = known(every), some = known(seen)
const low = all[0] ?? 0, span = (all.at(-1) ?? 1) - low || 1
const steps = whole && !log && span < 60 ? span + 1 : 40
const start = steps === span + 1 ? low - 0.5 : low, width = (steps === span + 1 ? steps : span) / steps
const bins = (values) => values.reduce((sums, v) => {
  sums[Math.min(steps - 1, Math.floor((v - start) / width))]++
  return sums
}, new Array(steps).fill(0))
const edges = Array.from({length: steps + 1}, (_, i) => start + i * width)
bars.data = {left: edges.slice(0, -1), right: edges.slice(1), all: bins(all), shown: bins(some)}
const sets = group === null
  ? [["all", all, pale], ["shown", some, warm]]
  : columns[group].names.map((each, k) => [each, known(seen.filter((i) => data[group][i] === k)), kinds[k % kinds.length]])
const thin = (values) => {
  const places = values.length > 600 ? Array.from({length: 600}, (_, k) => Math.round(k * (values.length - 1) / 599)) : [...values.keys()]
  return {x: places.flatMap((k) => [values[k], values[k]]), y: places.flatMap((k, j) => [j ? (places[j - 1] + 1) / values.length : 0, (k + 1) / values.length])}
}
const steppy = sets.map(([, values]) => thin(values))
steps_of.data = {
  xs: steppy.map(({x}) => x), ys: steppy.map(({y}) => y), colours: sets.map(([,, colour]) => colour),
  names: sets.map(([each, values]) => `${each}, n = ${values.length.toLocaleString("en")}`),
}
const back = (v) => log ? 10 ** v : v
const median = (values) => values.length ? back((values[Math.floor((values.length - 1) / 2)] + values[Math.floor(values.length / 2)]) / 2).toPrecision(4) : "none"
histogram.title.text = names ? `n = ${some.length} of ${all.length}` : `shown: n = ${some.length}, median ${format(median(some))}\nall: n = ${all.length}, median ${format(median(all))}`
for (const axis of [histogram.below[0], edf.below[0]]) {
  axis.axis_label = label
  for (const part of [axis.formatter, axis.ticker]) part.args = {log, names}
}
function format(text) {
  const v = Number(text)
  return Math.abs(v) >= 1e4 ? Intl.NumberFormat("en", {notation: "compact", maximumSignificantDigits: 4}).format(v) : Number.isFinite(v) ? String(+v) : text
}
