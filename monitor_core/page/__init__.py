"""The page: a recorded run as one HTML file that opens anywhere, offline.

In: a `RecordedRun`. Out: HTML with the data, the script and the style inside; the sources of both are in ``web/``, and
the package's build bundles them into ``built/``. Needs the extra ``report``. Public: `write_report`, `report_html`.
"""

from monitor_core.page.report import report_html, write_report

__all__ = ["report_html", "write_report"]
