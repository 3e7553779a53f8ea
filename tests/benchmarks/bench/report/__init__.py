"""What is made of the samples: a table, a JSON document, Markdown and a chart."""
