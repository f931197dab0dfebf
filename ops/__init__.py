"""Looking after SQLite and PostgreSQL databases: health, backups, restores that can be undone.

A plain library; the console is one of its users.

    from pathlib import Path
    from ops import DataFolder, Target, create_backup, get_health_report, restore_backup

    target = Target.parse("shop", "sqlite:////srv/shop/shop.db")
    folder = DataFolder(Path("/srv/backups"))
    made = create_backup(target, folder, label="before the migration")
    restored = restore_backup(target, made.archive, folder)
    print(get_health_report(target.engine).headline)
"""

from ops.backup import BackupResult, create_backup
from ops.beside import BesideResult, restore_beside
from ops.catalog import Catalog, CatalogEntry
from ops.compare import Comparison, compare_archive
from ops.datafolder import DataFolder
from ops.dialects import dialect_of
from ops.errors import OpsError
from ops.health import get_health_report, get_redis_report
from ops.pools import get_pool_stats, get_server_sessions
from ops.preview import Preview, preview_restore
from ops.progress import Progress
from ops.proof import Proof, Prove
from ops.restore import RestoreResult, restore_backup, undo_restore
from ops.target import CountingPool, Target
from ops.undo import UndoPoint, delete_undo_point, undo_points
from ops.verify import VerifyResult, prove_archive, recheck_kept, verify_archive

__all__ = [
    "BackupResult",
    "BesideResult",
    "Catalog",
    "CatalogEntry",
    "Comparison",
    "CountingPool",
    "DataFolder",
    "OpsError",
    "Preview",
    "Progress",
    "Proof",
    "Prove",
    "RestoreResult",
    "Target",
    "UndoPoint",
    "VerifyResult",
    "compare_archive",
    "create_backup",
    "delete_undo_point",
    "dialect_of",
    "get_health_report",
    "get_pool_stats",
    "get_redis_report",
    "get_server_sessions",
    "preview_restore",
    "prove_archive",
    "recheck_kept",
    "restore_backup",
    "restore_beside",
    "undo_points",
    "undo_restore",
    "verify_archive",
]
