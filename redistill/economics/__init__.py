"""The costs of teacher and student, of misroutes and of monitoring. All of it is pure."""
