"""What happens, when. `rules` decides (pure), `moves` writes (transactions), the other files wait (loops).

Topics of the bell, all of them hints: `triggers`, `work` (something may start), `outbox`, `pipelines` (a trigger became
one), `project:ID`, `pipeline:ID`, `workflow:ID`, `job:ID`, `log:JOB/INDEX/POSITION` (that log grew or ended),
`cancel:JOB` (look whether this job was cancelled).
"""
