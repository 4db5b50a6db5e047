// Places the dots by the chosen columns; a logarithmic column is placed by its logarithm.
const {data} = source
const at = (name) => Float64Array.from(data[name], (v) => columns[name].log ? Math.log10(v) : v)
data.x = at(x.value); data.y = at(y.value); data.colour = at(colour.value)
for (const [axis, chosen] of [[figure.below[0], x], [figure.left[0], y], [bar, colour]]) {
  const {log, names, label} = columns[chosen.value]
  for (const part of [axis.formatter, axis.ticker]) if ("args" in part) part.args = {log, names}
  if (axis !== bar) axis.axis_label = label
}
const {names} = columns[colour.value]
const span = (values) => values.filter(Number.isFinite).reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity])
const [low, high] = span(data.colour)
for (const [range, values] of [[figure.x_range, data.x], [figure.y_range, data.y]]) {
  const [a, b] = span(values), margin = 0.05 * (b - a) || 0.5
  range.setv({start: a - margin, end: b + margin, reset_start: a - margin, reset_end: b + margin})
}
mapper.setv(names ? {palette: kinds.slice(0, Math.max(names.length, 1)), low: -0.5, high: Math.max(names.length, 1) - 0.5}
                  : {palette: shades, low, high: high > low ? high : low + 1})
source.change.emit()
front.execute(source)
