// Shares the columns with the table, whose selection is the row to show and no brush, and shows all rows.
rows.data = source.data
place.execute(source)
show.execute(source)
