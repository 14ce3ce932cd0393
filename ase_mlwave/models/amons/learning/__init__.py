"""From a query to a model: labels, displaced copies, the study, and its extension by amons that are missing."""
