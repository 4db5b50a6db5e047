// Writes a tick: a choice by name, other numbers short.
if (names) return Number.isInteger(tick) ? (names[tick] ?? "") : ""
const value = log ? 10 ** tick : tick
return Intl.NumberFormat("en", {notation: Math.abs(value) >= 1e4 ? "compact" : "standard", maximumSignificantDigits: 4}).format(value)
