"""`rondo runner`: a machine that dials in to an appliance's SSH door, and serves its jobs back over that connection.

Nothing lives in the runner: jobs' supervisors are detached processes with files, and the runner only starts the commands
by which the appliance reaches them. It may die and come back at any moment.
"""
