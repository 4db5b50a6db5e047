"""Plans and costs as tables, HTML, explanations, differences and drawings."""
