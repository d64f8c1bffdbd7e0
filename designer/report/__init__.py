"""Reports: one view of a result, and renderers for the terminal, Markdown, HTML and pictures."""
