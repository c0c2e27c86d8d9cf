"""Work in other processes: a pool whose tasks may hang or crash, pipelines within a process, and Ray."""
