"""As many pictures as the budget allows: each is quoted first, none is begun that could cost too much.

    python examples/budget_batch.py 20

The argument is the budget in credits.
"""

import sys

from impasto import APIError, Impasto, Job, JobFailed

PROMPTS = [
    "a red heart on white",
    "a yellow star on blue",
    "two green circles on black",
    "a blue square on yellow",
]


def main(budget: int) -> None:
    client = Impasto()
    jobs: list[Job] = []
    left = min(budget, client.credits.balance().available)
    for prompt in PROMPTS:
        quote = client.quotes.create("text-to-image", {"prompt": prompt})
        if quote.amount > left:
            print(f"stopped before {prompt!r}: it can cost {quote.amount} credits, and {left} are left")
            break
        try:
            # Should the price rise in this very moment, the job is refused and not made.
            job = client.jobs.create("text-to-image", {"prompt": prompt}, max_cost=left)
        except APIError as error:
            print(f"stopped before {prompt!r}: {error}")
            break
        try:
            job = client.jobs.wait(job.id)
        except JobFailed as failed:
            job = failed.job
        if job.cost:
            left -= job.cost.amount
        jobs.append(job)
    print_receipt(jobs)


def print_receipt(jobs: list[Job]) -> None:
    print(f"\n{'prompt':<30} {'status':<10} {'quoted':>6} {'cost':>6}")
    for job in jobs:
        quoted, cost = (part.amount if part else 0 for part in (job.quote, job.cost))
        print(f"{job.input['prompt']:<30} {job.status:<10} {quoted:>6} {cost:>6}")
    total = sum(job.cost.amount for job in jobs if job.cost)
    print(f"{'total':<48} {total:>6}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
