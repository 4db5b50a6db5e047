// Draws at most `most` of the rows shown, evenly taken, one line each across the axes.
const {data} = source
const seen = shown.indices ?? [...data.recipe.keys()]
const taken = seen.length > most ? Array.from({length: most}, (_, k) => seen[Math.floor(k * seen.length / most)]) : seen
const at = (name, i) => columns[name].log ? Math.log10(data[name][i]) : data[name][i]
const places = (i) => axes.map(({name, low, high}) => high > low ? (at(name, i) - low) / (high - low) : 0.5)
paths.data = {xs: taken.map(() => [...axes.keys()]), ys: taken.map(places), colour: taken.map((i) => data.colour[i])}
figure.title.text = `${taken.length.toLocaleString("en")} of ${seen.length.toLocaleString("en")} shown`
