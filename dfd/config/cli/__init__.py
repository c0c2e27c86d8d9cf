"""The command line, as a person says it: plain words, help pages, sentences for what is refused, completion."""
