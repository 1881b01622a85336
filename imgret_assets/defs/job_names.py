"""Names of the jobs.

Belongs here: the names, which resources and sensors know too. Not here: the jobs (`defs.jobs`).
"""

REFRESH = "refresh"
# Name of the job in earlier versions: their unfinished and stored runs count as runs of the refresh.
FORMER_REFRESH = "nightly_refresh"
QUERY = "query_similar_images"
# The last job is Dagster's own: materialisations and backfills started in the UI.
REFRESH_JOBS = (REFRESH, FORMER_REFRESH, "__ASSET_JOB")
