"""Add a record of two kinds to a log every 2 ms and print it: ``python write_until_killed.py URL``; never ends."""

import itertools
import sys
import time

from audit_support import make_record

from nautilus_torchserve.audit.opening import open_log
from nautilus_torchserve.audit.records import FillRecord, RequestRecord
from nautilus_torchserve.audit.writer import Writer

writer = Writer(open_log(sys.argv[1]), every_s=0.5)
for seq in itertools.count():
    writer.add(make_record(FillRecord if seq % 3 == 0 else RequestRecord, seq))
    print(seq, time.monotonic_ns(), flush=True)
    time.sleep(0.002)
