"""Names of the files and folders that hold scored videos."""

# What predict.py writes into its folder.
CSV_NAME, JSONL_NAME, PARQUET_NAME = "predictions.csv", "predictions.jsonl", "predictions.parquet"


RUN_NAME, REPORT_NAME, NOT_VIDEOS_NAME = "run.json", "report.html", "not_videos.txt"


EVIDENCE_NAME, ANNOTATED_NAME = "evidence", "annotated"


OWN_FILES = (CSV_NAME, JSONL_NAME, PARQUET_NAME, RUN_NAME, REPORT_NAME, NOT_VIDEOS_NAME, "predict.log")


OWN_FOLDERS = (EVIDENCE_NAME, ANNOTATED_NAME)
