"""Work in two sittings: save, exit with 75, be queued again, go on from what was saved."""

import os
import pathlib
import sys

saved = pathlib.Path(os.environ["BUSHEL_CHECKPOINT_DIR"], "page")
page = int(saved.read_text()) if saved.exists() else 0
print(f"attempt {os.environ['BUSHEL_ATTEMPT']}: begins at page {page}")
page += 50
saved.write_text(f"{page}\n")
if page < 100:
    print(f"saved at page {page}; again, please")
    sys.exit(75)
print(f"finished at page {page}")
