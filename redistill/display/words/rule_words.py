"""Rules in words."""

from triggers.settings import Condition, Rule

_ACTIONS = {"redistill": "orders a re-distillation", "alert": "alerts"}


def rule_in_words(rule: Rule) -> str:
    """Return the condition, the action and the severity of a rule.

    Example:
        >>> from triggers.settings import DEFAULT_RULES
        >>> rule_in_words(DEFAULT_RULES[0])
        'agreement below 0.95 for 3 cycles in a row: orders a re-distillation (error)'
    """
    return f"{condition_in_words(rule)}: {_ACTIONS[rule.action]} ({rule.severity})"


def condition_in_words(rule: Rule) -> str:
    """Return the condition under which a rule fires.

    Example:
        >>> rule = {"name": "r", "metric": "kl", "above": "0.2", "for_cycles": 2, "of_cycles": 4}
        >>> condition_in_words(Rule.model_validate(rule))
        'kl above 0.2 for 2 of 4 cycles'
    """
    bounds = ", ".join(bound(each) for each in rule.conditions)
    what = f"{rule.watches} of {bounds}" if bounds else bound(rule)
    if rule.mode == "sequential":
        return f"{what} (sequential), at most {rule.false_alarm_rate:g} false alarms in 1,000 cycles"
    if rule.of_cycles:
        return f"{what} for {rule.for_cycles} of {rule.of_cycles} cycles"
    return f"{what} for {rule.for_cycles} {'cycle' if rule.for_cycles == 1 else 'cycles in a row'}"


def bound(condition: Condition) -> str:
    """Return a condition's metric and threshold.

    Example:
        >>> condition = {"metric": "agreement", "below": "0.95", "mode": "interval"}
        >>> bound(Condition.model_validate(condition))
        'agreement below 0.95 (interval)'
    """
    interval = " (interval)" if condition.mode == "interval" else ""
    return f"{condition.metric} {condition.side} {condition.threshold}{interval}"
