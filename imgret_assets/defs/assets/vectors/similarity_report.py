"""The asset `similarity_report`: what scores mean in an embedding space, and a suggested threshold.

Belongs here: the asset and its metadata. Not here: counting (`domain.analysis.threshold_report`), drawing
(`domain.analysis.threshold_plot`).
"""

from typing import Any

import dagster as dg
from pydantic import Field

from imgret_assets.defs.asset_versions import table_version
from imgret_assets.defs.assets.imgret_asset import imgret_asset
from imgret_assets.defs.metadata import column_schema
from imgret_assets.defs.partitions import all_shards
from imgret_assets.defs.resources.embedder import EmbedderResource
from imgret_assets.defs.resources.warehouse import WarehouseResource
from imgret_assets.domain.analysis import threshold_plot
from imgret_assets.domain.analysis.calibration import ThresholdReport
from imgret_assets.domain.analysis.threshold_report import plot_path, refresh_threshold_report
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.tables import THRESHOLDS_SCHEMA, thresholds_path

PLOT_BYTES = 48 * 1024


class ReportConfig(dg.Config):
    """Whether the figures of the last report may be kept."""

    force: bool = Field(
        default=False, description="Compute all figures, even if no more than one image in fifty has changed."
    )
    anew: bool = Field(default=False, description="Deprecated name of force.")


@imgret_asset(
    deps=["nearest_neighbours", "duplicates", all_shards("embeddings")],
    group="vectors",
    kinds={"numpy", "parquet"},
    metadata={"dagster/column_schema": column_schema(THRESHOLDS_SCHEMA)},
)
def similarity_report(
    context: dg.AssetExecutionContext,
    config: ReportConfig,
    warehouse: WarehouseResource,
    embedder: EmbedderResource,
) -> dg.MaterializeResult:
    """One row for each threshold from 0.5 to 0.99: the pairs above it and how many are right. One is suggested."""
    home = warehouse.open()
    space = embedder.space(home).id
    report = refresh_threshold_report(home, space, force=config.force or config.anew)
    context.log.info(report.summary)
    return dg.MaterializeResult(
        data_version=table_version(home, "similarity_report", space), metadata=_metadata(home, report)
    )


def _metadata(home: Home, report: ThresholdReport) -> dict[str, Any]:
    plot = plot_path(home.warehouse, report.space)
    measures = {
        "precision_at_1": report.precision_1,
        "precision_at_10": report.precision_10,
        "mean_average_precision": report.mean_average_precision,
        "suggested_threshold": report.suggested,
    }
    return {
        "dagster/row_count": len(report.rows),
        "images": report.images,
        "labelled": report.labelled,
        "duplicates_left_out": report.duplicates,
        "images_changed_since": report.changed_since,
        "background": report.background,
        "reason": report.why,
        "written": report.written,
        "space": report.space,
        "thresholds": _table(report),
        "table": dg.MetadataValue.path(str(thresholds_path(home.warehouse, report.space))),
        "plot_file": dg.MetadataValue.path(str(plot)),
        "plot": dg.MetadataValue.md(threshold_plot.as_markdown(plot, max_bytes=PLOT_BYTES)),
        **{name: value for name, value in measures.items() if value is not None},
        **_rerank(report),
    }


def _rerank(report: ThresholdReport) -> dict[str, Any]:
    gain = report.gain
    if gain is None:
        return {}
    return {
        "rerank_helps": gain.helps,
        "rerank_precision_at_1": f"{gain.first:.3f} -> {gain.first_reranked:.3f}",
        "rerank_mean_average_precision": f"{gain.average:.3f} -> {gain.average_reranked:.3f}",
    }


def _table(report: ThresholdReport) -> dg.TableMetadataValue:
    names = [field.name for field in THRESHOLDS_SCHEMA]
    records = [
        # Cells of a Dagster table cannot be null.
        dg.TableRecord({name: "" if getattr(row, name) is None else round(getattr(row, name), 4) for name in names})
        for row in report.rows
        if round(row.threshold * 100) % 5 == 0 or row.threshold == report.suggested
    ]
    return dg.MetadataValue.table(records, dg.TableSchema(columns=[dg.TableColumn(name) for name in names]))
