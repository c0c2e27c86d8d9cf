"""Pages of reports: documents, wording, number formats, and their content security policy."""
