"""Networks: training, evaluation, modules and heads; the only room that knows skorch."""
