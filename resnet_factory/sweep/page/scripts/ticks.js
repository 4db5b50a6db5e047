// Places ticks at 1, 2 and 5 of a logarithmic axis, or at round numbers; choices have one each.
const {start, end} = cb_data.range, low = Math.min(start, end), high = Math.max(start, end), found = []
if (names) { for (let v = Math.ceil(low); v <= high && found.length < 40; v++) found.push(v); return found }
if (log && high - low > 0.7) {
  const digits = high - low > 6 ? [1] : high - low > 2.2 ? [1, 3] : [1, 2, 5]
  for (let d = Math.floor(low); d <= high; d++) for (const k of digits) found.push(d + Math.log10(k))
} else {
  const from = log ? 10 ** low : low, to = log ? 10 ** high : high, rough = (to - from) / 5
  const unit = 10 ** Math.floor(Math.log10(rough)), step = unit * [1, 2, 5, 10].find((k) => k * unit >= rough)
  for (let k = Math.ceil(from / step); k * step <= to && found.length < 40; k++) found.push(log ? Math.log10(k * step) : k * step)
}
return found.filter((v) => v >= low && v <= high)
