"""Report of an evaluation: one detector or several, ours and others', on the same labelled videos."""
