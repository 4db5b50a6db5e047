// Shows the kept rows, or those of them that are brushed, in the table and the other views.
const {data} = source, count = data.recipe.length
const rows = kept.indices ?? Array.from({length: count}, (_, i) => i)
const brush = new Set(source.selected.indices)
const seen = brush.size ? rows.filter((i) => brush.has(i)) : rows
shown.indices = seen.length === count ? null : seen
document.getElementById("shown").textContent =
  `${seen.length.toLocaleString("en")} of ${count.toLocaleString("en")} shown${brush.size ? ", brushed" : ""}`
distribution.execute(seen)
parallel.execute(seen)
