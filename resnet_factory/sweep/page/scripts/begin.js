// Shares the columns with the table, whose selection is the row to show and no brush, and shows all rows;
// or those that were shown before the page was loaded again, in this tab.
rows.data = source.data
// A finger scrolls over plots; the sliders are its filters.
if (matchMedia("(pointer: coarse)").matches) for (const brush of brushes) brush.active = false
const file = `shown in ${location.pathname}`, chosen = {x, y, colour, column}, plans = source.data.plan
const first = Object.fromEntries(Object.entries(chosen).map(([name, each]) => [name, each.value]))
const state = (() => { try { return JSON.parse(sessionStorage.getItem(file)) ?? {} } catch { return {} } })()
for (const [name, each] of Object.entries(chosen)) if (columns[state[name]]) each.value = state[name]
search.value_input = search.value = state.search ?? ""
for (const [name, [low, high]] of Object.entries(state.ranges ?? {}))
  if (ranges[name]) ranges[name].value = [Math.max(low ?? -Infinity, ranges[name].start), Math.min(high ?? Infinity, ranges[name].end)]
for (const [name, values] of Object.entries(state.choices ?? {}))
  if (choices[name]) choices[name].value = values.filter((value) => columns[name].names.includes(value))
place.execute(source)
const index = (plan) => plans.indexOf(plan), there = (i) => i >= 0
source.selected.indices = (state.brushed ?? []).map(index).filter(there)
keep.execute(source)
rows.selected.indices = [state.picked].map(index).filter(there)
addEventListener("pagehide", () => {
  const changed = Object.entries(chosen).filter(([name, each]) => each.value !== first[name]).map(([name, each]) => [name, each.value])
  const narrowed = Object.entries(ranges).map(([name, {value: [low, high], start, end}]) => [name, [low > start ? low : null, high < end ? high : null]])
  const saved = {
    ...Object.fromEntries(changed), search: search.value_input,
    ranges: Object.fromEntries(narrowed.filter(([, ends]) => ends.some((end) => end !== null))),
    choices: Object.fromEntries(Object.entries(choices).filter(([, {value}]) => value.length).map(([name, {value}]) => [name, value])),
    brushed: source.selected.indices.map((i) => plans[i]), picked: plans[current.tags[0]],
  }
  try { sessionStorage.setItem(file, JSON.stringify(saved)) } catch { /* a browser that keeps nothing */ }
})
