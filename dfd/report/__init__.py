"""Reports: training runs and studies set side by side, and scored videos."""
