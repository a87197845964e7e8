/** The settings of the lab as an object and as the query of a link: what one says, the other says. */

/** Values by the id of their setting; `b.<id>` is that of run B of a comparison. */
export type Settings = Record<string, string | number>;

/** The query of a link to these settings, without its question mark. */
export function queryOf(settings: Settings): string {
  return new URLSearchParams(
    Object.entries(settings).map(([id, value]): [string, string] => [id, String(value)]),
  ).toString();
}

/** The settings that a link, or only its query, carries. */
export function settingsOf(link: string): Record<string, string> {
  const query = link.includes('?') ? link.slice(link.indexOf('?') + 1) : link.includes('://') ? '' : link;
  return Object.fromEntries(new URLSearchParams(query.replace(/#.*$/, '')));
}
