"""Work in two sittings: save, exit with 75, be queued again, go on from what was saved."""

import os
import sys

saved = os.path.join(os.environ["BUSHEL_CHECKPOINT_DIR"], "page")
page = int(open(saved).read()) if os.path.exists(saved) else 0
print(f"attempt {os.environ['BUSHEL_ATTEMPT']}: begins at page {page}")
page += 50
with open(saved, "w") as file:
    print(page, file=file)
if page < 100:
    print(f"saved at page {page}; again, please")
    sys.exit(75)
print(f"finished at page {page}")
