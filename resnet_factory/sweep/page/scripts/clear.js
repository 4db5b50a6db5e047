// Takes back the search, the ranges, the choices and the brush.
search.value_input = search.value = ""
for (const range of Object.values(ranges)) range.value = [range.start, range.end]
for (const choice of Object.values(choices)) choice.value = []
source.selected.indices = []
keep.execute(source)
