// Keeps the rows that pass the search, the ranges and the choices.
const {data} = source, count = data.recipe.length
const words = search.value_input.toLowerCase().split(/\s+/).filter(Boolean)
const texts = Object.values(data).filter((column) => Array.isArray(column))
const narrowed = Object.entries(ranges).filter(([, {value, start, end}]) => value[0] > start || value[1] < end)
const picked = Object.entries(choices).filter(([, {value}]) => value.length)
const inside = ([name, {value: [low, high]}], i) => {
  const v = columns[name].log ? Math.log10(data[name][i]) : data[name][i]
  return low <= v && v <= high
}
const rows = []
for (let i = 0; i < count; i++)
  if (narrowed.every((each) => inside(each, i)) &&
      picked.every(([name, {value}]) => value.includes(columns[name].names[data[name][i]])) &&
      words.every((word) => texts.some((column) => column[i].toLowerCase().includes(word)))) rows.push(i)
kept.indices = rows.length === count ? null : rows
front.execute(source)
show.execute(source)
