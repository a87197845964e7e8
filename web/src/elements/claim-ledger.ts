/** The claim ledger: what a paper says, what is measured here, whether it holds, and if not, why. */
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import type { EngineClient } from '../engine/client.ts';
import type { Checked, Claim, Exhibit } from '../engine/protocol.ts';
import { save } from '../views/export.ts';
import { formatNumber } from '../views/format.ts';
import { exhibitStyles } from './exhibit-styles.ts';
import { base } from './styles.ts';

/** A measurement that gave way to a run is tried again after this time. */
const RETRY_MS = 300;
const MAX_TRIES = 50;

const bounds = ({ expected: [low, high], unit }: Claim): string => {
  const u = unit ? ` ${unit}` : '';
  if (low === null) return `at most ${formatNumber(high)}${u}`;
  if (high === null) return `at least ${formatNumber(low)}${u}`;
  return `${formatNumber(low)} to ${formatNumber(high)}${u}`;
};

@customElement('lin-claim-ledger')
export class LinClaimLedger extends LitElement {
  static override styles = [
    base,
    exhibitStyles,
    css`
      .head {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.4rem 0.8rem;
      }
      .head h2 {
        flex: 1;
      }
      .rows {
        overflow-x: auto;
        margin-top: 0.6rem;
      }
      table {
        border-collapse: collapse;
        width: 100%;
        min-width: 44rem;
        font-size: 0.86rem;
        line-height: 1.45;
      }
      th,
      td {
        text-align: left;
        vertical-align: top;
        padding: 0.5rem 0.7rem 0.5rem 0;
        border-bottom: 1px solid var(--line);
      }
      thead th {
        font-size: 0.78rem;
        color: var(--quiet);
        font-weight: 600;
      }
      tbody th {
        font-weight: 400;
        width: 30%;
      }
      td.what {
        width: 40%;
      }
      small {
        display: block;
        color: var(--quiet);
        font-size: 0.92em;
      }
      .verdict {
        font-weight: 700;
        white-space: nowrap;
      }
      .yes {
        color: light-dark(#1c6d45, #5cc8a0);
      }
      .no {
        color: var(--run-b);
      }
      .broken {
        color: var(--alarm);
      }
      .why {
        margin-top: 0.3rem;
        padding-left: 0.6rem;
        border-left: 3px solid var(--run-b);
      }
      code {
        font-family: var(--mono);
        font-size: 0.92em;
        overflow-wrap: anywhere;
      }
      @media print {
        .rows {
          overflow: visible;
        }
        table {
          min-width: 0;
        }
        tr {
          break-inside: avoid;
        }
        .head {
          break-after: avoid;
        }
      }
      /* On a narrow screen each claim is a card of its own. */
      @media screen and (max-width: 700px) {
        table {
          min-width: 0;
        }
        thead {
          display: none;
        }
        tr,
        tbody th,
        td,
        td.what {
          display: block;
          width: auto;
          border: 0;
          padding: 0.15rem 0;
        }
        tr {
          border-bottom: 1px solid var(--line);
          padding: 0.5rem 0;
        }
      }
    `,
  ];

  @property({ attribute: false }) exhibit?: Exhibit;
  @property({ attribute: false }) engine?: EngineClient;
  @property({ type: Boolean }) gpu = false;
  @state() private checked = new Map<string, Checked | string>();
  @state() private measuring = '';
  private round = 0;
  private readonly near = new IntersectionObserver((entries) => {
    if (!entries.some((e) => e.isIntersecting)) return;
    this.near.disconnect();
    void this.measure();
  });

  override connectedCallback(): void {
    super.connectedCallback();
    this.near.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.near.disconnect();
    this.round += 1;
  }

  override willUpdate(changes: PropertyValues<this>): void {
    if (!changes.has('exhibit') || !changes.get('exhibit')) return;
    this.checked = new Map();
    this.round += 1;
    this.near.observe(this);
  }

  /** All claims, one after the other; whatever the person does meanwhile comes first. */
  private async measure(): Promise<void> {
    const { exhibit, engine, gpu } = this;
    if (!exhibit || !engine) return;
    const round = (this.round += 1);
    this.checked = new Map();
    for (const claim of exhibit.claims) {
      this.measuring = claim.id;
      const result = await this.measureOne(exhibit, claim, engine, gpu, () => round === this.round);
      if (round !== this.round) return;
      this.checked = new Map(this.checked).set(claim.id, result);
    }
    this.measuring = '';
  }

  private async measureOne(
    exhibit: Exhibit,
    claim: Claim,
    engine: EngineClient,
    gpu: boolean,
    wanted: () => boolean,
  ): Promise<Checked | string> {
    let reason = '';
    for (let tries = 0; tries < MAX_TRIES && wanted(); tries++) {
      try {
        return await engine.checkClaim(exhibit.slug, claim.id, gpu);
      } catch (error) {
        reason = (error as Error).message;
        if (!/newer is wanted|engine stopped/.test(reason)) return reason;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    return reason;
  }

  private verdict(claim: Claim): TemplateResult {
    const got = this.checked.get(claim.id);
    if (got === undefined)
      return html`<span class="quiet"
        >${this.measuring === claim.id ? 'measuring …' : 'not measured yet'}</span
      >`;
    if (typeof got === 'string') return html`<span class="verdict broken">not measured</span>`;
    if (got.holds) return html`<span class="verdict yes">✓ holds</span>`;
    return claim.reproducible
      ? html`<span class="verdict broken">✗ does not hold, though it should</span>`
      : html`<span class="verdict no">✗ does not hold here</span>`;
  }

  private rowTemplate(claim: Claim): TemplateResult {
    const got = this.checked.get(claim.id);
    const u = claim.unit ? ` ${claim.unit}` : '';
    return html`<tr data-claim=${claim.id}>
      <th scope="row">${claim.statement}<small>${claim.source}</small></th>
      <td class="what">
        ${claim.measured}
        <small>Expected ${bounds(claim)}. ${claim.tolerance}</small>
        <small>Scale: ${claim.scale}.</small>
        ${
          got === undefined || typeof got === 'string'
            ? html`<small>${got ?? nothing}</small>`
            : html`<small
                >${got.words} On ${got.backend}, ${formatNumber(Math.round(got.ms))} ms.
                <code>${got.command}</code></small
              >`
        }
      </td>
      <td>
        ${got === undefined || typeof got === 'string' ? nothing : html`<b>${formatNumber(got.value)}${u}</b><br />`}
        ${this.verdict(claim)} ${claim.why ? html`<small class="why">${claim.why}</small>` : nothing}
      </td>
    </tr>`;
  }

  private saveJson(): void {
    if (!this.exhibit) return;
    const rows = this.exhibit.claims.map((claim) => ({
      ...claim,
      result: this.checked.get(claim.id) ?? null,
    }));
    const text = JSON.stringify({ exhibit: this.exhibit.slug, claims: rows }, null, 2);
    save(new Blob([text], { type: 'application/json' }), `linearium_${this.exhibit.slug}_claims.json`);
  }

  protected override render(): TemplateResult | typeof nothing {
    const exhibit = this.exhibit;
    if (!exhibit) return nothing;
    return html`<section class="card" aria-busy=${this.measuring ? 'true' : 'false'}>
      <div class="head">
        <h2>What the paper says, measured again</h2>
        <button class="no-print" ?disabled=${this.measuring !== ''} @click=${() => void this.measure()}>
          Measure again
        </button>
        <button class="plain no-print" @click=${() => this.saveJson()}>JSON</button>
      </div>
      <div class="rows" tabindex="0" role="region" aria-label="Claim ledger">
        <table>
          <thead>
            <tr>
              <th scope="col">Published</th>
              <th scope="col">Measured here</th>
              <th scope="col">Result</th>
            </tr>
          </thead>
          <tbody>
            ${exhibit.claims.map((claim) => this.rowTemplate(claim))}
          </tbody>
        </table>
      </div>
    </section>`;
  }
}
