// Shows one row: its numbers, width profile, picture, YAML and command.
const i = picked.inspected?.indices.at(-1) ?? picked.selected.indices[0]
if (i === undefined) return
const {data} = source, byId = (id) => document.getElementById(id), recipe = recipes[data.recipe[i]]
const number = (name) => columns[name].names?.[data[name][i]] ?? (Number.isFinite(data[name][i]) ? +data[name][i].toPrecision(10) : "")
const fill = (text) => text?.replace(/QQ(\d+)QQ/g, (_, k) => {
  const [name, index] = recipe.keys[k]
  return index === null ? data[`number ${name}`][i] : data[name][i].split("-")[index]
})
const name = recipe ? `${recipe.base}_${data.plan[i].split("-")[0]}` : data.plan[i]
byId("architecture").hidden = false
byId("hint").hidden = true
byId("architecture-name").textContent = name
byId("architecture-facts").replaceChildren(...[...texts.map((key) => [key, data[key][i]]), ...Object.keys(columns).filter((key) => !texts.includes(key.split(".")[0])).map((key) => [columns[key].label, number(key).toLocaleString("en", {maximumSignificantDigits: 10})])]
  .flatMap(([term, text]) => [["dt", term], ["dd", text]].map(([tag, content]) => Object.assign(document.createElement(tag), {textContent: content}))))
byId("architecture-yaml").textContent = fill(recipe?.yaml) ?? `# not included in this page: resnet-factory report DIR by=… writes winners as files; plan ${data.plan[i]}`
byId("architecture-file").textContent = `model/${name}.yaml`
byId("architecture-command").textContent = fill(recipe?.command) ?? `resnet-factory model=${name} --config-dir .`
for (const picture of document.querySelectorAll("[data-plan]")) picture.hidden = picture.dataset.plan !== data.plan[i]
const depths = (data.depths?.[i] ?? "").split("-").map(Number), widths = (data.widths?.[i] ?? "").split("-").map(Number)
const ends = depths.map((_, k) => depths.slice(0, k + 1).reduce((a, b) => a + b, 0))
profile.data = {left: ends.map((end, k) => end - depths[k]), right: ends, top: widths}
current.tags = [i]
current.data = {x: [data.x[i]], y: [data.y[i]]}
