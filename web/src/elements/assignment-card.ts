/** The task above the pictures: what to do, whether it is done, the result link; or a result, run again. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import type { Property } from '../engine/protocol.ts';
import { formatNumber } from '../views/format.ts';
import { broken, encode, quantities, reached, verdict, type Submission, type Task } from './assignment.ts';
import type { Result } from './embedded.ts';
import { base } from './styles.ts';

@customElement('lin-assignment')
export class LinAssignment extends LitElement {
  static override styles = [
    base,
    css`
      section {
        border: 1px solid var(--line);
        border-left: 4px solid var(--run-b);
        border-radius: var(--radius);
        background: var(--surface);
        padding: 0.8rem 1rem;
        margin-bottom: 0.8rem;
        display: grid;
        gap: 0.5rem;
      }
      h2 {
        font-family: var(--serif);
        font-size: 1.15rem;
      }
      p {
        font-size: 0.92rem;
        overflow-wrap: anywhere;
      }
      .done {
        color: light-dark(#1c6b45, #5cc8a0);
        font-weight: 600;
      }
      .failed {
        color: var(--alarm);
        font-weight: 600;
      }
      .quiet {
        color: var(--quiet);
        font-size: 0.82rem;
      }
      .row {
        display: flex;
        flex-wrap: wrap;
        gap: 0.5rem;
        align-items: end;
      }
      input {
        min-height: 28px;
        border: 1px solid var(--line-strong);
        border-radius: var(--radius);
        background: var(--sunken);
        padding: 0.2rem 0.5rem;
        display: block;
        width: min(18rem, 100%);
      }
      input.link {
        width: 100%;
        font-family: var(--mono);
        font-size: 0.78rem;
      }
    `,
  ];

  @property({ attribute: false }) task?: Task;
  @property({ attribute: false }) submission?: Submission;
  /** What is computed for the present state; nothing while it is not all there. */
  @property({ attribute: false }) result?: Result;
  @property({ attribute: false }) properties: readonly Property[] = [];
  @property({ attribute: false }) symbolNames: Readonly<Record<string, string>> = {};
  /** The page of this state, without a hash. */
  @property({ attribute: false }) link = '';
  @state() private name = '';
  @state() private made = '';

  private goalTemplate(task: Task): TemplateResult {
    const quantity =
      this.result && quantities(this.result, this.symbolNames).find((q) => q.of === task.goal.of);
    const { min, max } = task.goal;
    const bounds = [
      ...(min === null ? [] : [`at least ${formatNumber(min)}`]),
      ...(max === null ? [] : [`at most ${formatNumber(max)}`]),
    ].join(' and ');
    const now = !this.result
      ? 'calculating …'
      : quantity
        ? html`now <b data-measured>${formatNumber(quantity.value)}</b>`
        : 'not computed in this state';
    return html`<p>Goal: ${quantity?.label ?? task.goal.of} ${bounds}; ${now}.</p>`;
  }

  private submit(task: Task, value: number): void {
    const query = this.result?.query ?? '';
    const submission: Submission = {
      v: 1,
      task,
      name: this.name.trim(),
      query,
      value,
      at: new Date().toISOString(),
    };
    const link = new URL(this.link);
    link.hash = `result=${encode(submission)}`;
    this.made = link.href;
  }

  private readonly onName = (event: Event): void => {
    this.name = (event.target as HTMLInputElement).value;
    this.made = '';
    this.dispatchEvent(new CustomEvent('learner', { detail: this.name.trim() }));
  };

  private taskTemplate(task: Task): TemplateResult {
    const value = this.result && quantities(this.result).find((q) => q.of === task.goal.of)?.value;
    const rule = this.result ? broken(task, this.name.trim(), this.result.query, this.properties) : '';
    const done = value !== undefined && reached(task.goal, value) && rule === '';
    return html`<section aria-labelledby="task">
      <h2 id="task">${task.title}</h2>
      <p>${task.ask}</p>
      ${this.goalTemplate(task)}
      <p role="status" class=${done ? 'done' : ''}>
        ${done ? 'Done.' : rule ? `Not yet: ${rule}.` : 'Not yet.'}
      </p>
      <div class="row">
        <label
          >Your name<input autocomplete="name" maxlength="80" .value=${this.name} @change=${this.onName}
        /></label>
        <button
          class="primary"
          ?disabled=${!done || this.name.trim() === ''}
          @click=${() => this.submit(task, value!)}
        >
          Make the result link
        </button>
      </div>
      ${
        this.made
          ? html`<label
              >Result link, to be given to your teacher<input class="link" readonly .value=${this.made}
            /></label>`
          : nothing
      }
      <p class="quiet">
        The link holds your name, your settings and the value. It is sent to nobody; whoever opens it runs it
        again. It shows that these settings reach the goal, not who found them.
      </p>
    </section>`;
  }

  private resultTemplate(submission: Submission): TemplateResult {
    const same = this.result && this.result.query === submission.query;
    const found = this.result && same ? verdict(submission, this.result, this.properties) : undefined;
    return html`<section aria-labelledby="task">
      <h2 id="task">Result of ${submission.name}: ${submission.task.title}</h2>
      <p>${submission.task.ask}</p>
      ${this.goalTemplate(submission.task)}
      <p role="status" class=${found ? (found.holds ? 'done' : 'failed') : ''}>
        ${
          found
            ? `The result ${found.words}.`
            : this.result
              ? 'These are other settings than those of the result: load the link again.'
              : 'Running it again …'
        }
      </p>
      <p class="quiet">
        Made ${submission.at} by the learner's clock, which proves nothing. Name and task stand in the link
        and can be written by anybody: compare the task with yours.
      </p>
    </section>`;
  }

  protected override render(): TemplateResult | typeof nothing {
    if (this.submission) return this.resultTemplate(this.submission);
    return this.task ? this.taskTemplate(this.task) : nothing;
  }
}
