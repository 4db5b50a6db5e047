// Draws the Pareto front of the rows that the filters leave, for two metrics of the scatter; one per group.
const {data} = source, a = columns[x.value], b = columns[y.value]
const sets = new Map(), xs = [], ys = [], colours = []
if (a.more !== null && b.more !== null)
  for (const i of kept.indices ?? data.x.keys()) {
    const key = group === null ? 0 : data[group][i]
    if (Number.isFinite(data.x[i] + data.y[i])) sets.has(key) ? sets.get(key).push(i) : sets.set(key, [i])
  }
const p = (i) => a.more ? -data.x[i] : data.x[i], q = (i) => b.more ? -data.y[i] : data.y[i]
for (const [key, rows] of [...sets].sort(([k], [l]) => k - l)) {
  let best = Infinity
  const front = rows.sort((i, j) => p(i) - p(j) || q(i) - q(j)).filter((i) => q(i) < best && ((best = q(i)), true))
  xs.push(front.map((i) => data.x[i])); ys.push(front.map((i) => data.y[i]))
  colours.push(group === null ? warm : kinds[key % kinds.length])
}
lines.data = {xs, ys, colours}
const place = current.tags[0]
current.data = place === undefined ? {x: [], y: []} : {x: [data.x[place]], y: [data.y[place]]}
