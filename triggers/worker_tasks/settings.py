"""Where and how ECS starts the workers of jobs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from triggers.settings import Section

_Name = Annotated[str, Field(min_length=1)]


class EcsSection(Section):
    """A worker is started for each job, as a task in Amazon ECS."""

    cluster: _Name  #: its name or ARN
    task_definition: _Name  #: family, family:revision or ARN
    container: _Name | None = None  #: of the definition, the one that runs `command` instead of its own
    command: Annotated[tuple[str, ...], Field(min_length=1)] = ("redistill", "worker", "--once")
    subnets: tuple[_Name, ...] = ()  #: of a definition whose network mode is awsvpc
    security_groups: tuple[_Name, ...] = ()
    assign_public_ip: bool = False
    launch_type: Literal["FARGATE", "EC2", "EXTERNAL"] | None = None
    capacity_provider: _Name | None = None  #: such as FARGATE_SPOT; with neither, what the cluster does

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.launch_type and self.capacity_provider:
            raise ValueError("it takes 'launch_type' or 'capacity_provider', not both")
        if not self.subnets and (self.security_groups or self.assign_public_ip):
            raise ValueError("'security_groups' and 'assign_public_ip' need 'subnets'")
        if "command" in self.model_fields_set and self.container is None:
            raise ValueError("'command' needs 'container': the name of the one that runs it")
        return self
