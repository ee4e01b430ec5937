"""Starting a worker for each job as a task in Amazon ECS."""
