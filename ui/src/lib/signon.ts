// Single sign-on: the way to the provider and back, which leaves the page.

import { redeem, signOn } from './api';

/** Where the place in the page is kept meanwhile: the provider knows nothing of it. */
const PLACE = 'place';

/** Leaves for the provider. */
export async function leave(): Promise<void> {
  const url = await signOn();
  sessionStorage.setItem(PLACE, location.hash);
  location.assign(url);
}

/** What the provider says in the address, if the browser comes from there. */
export function returned(search: string): URLSearchParams | null {
  const said = new URLSearchParams(search);
  return said.has('state') && (said.has('code') || said.has('error')) ? said : null;
}

/** Ends what `leave` began, and takes what the provider said out of the address; why it failed, if it did. */
export async function comeBack(said: URLSearchParams): Promise<string> {
  const place = sessionStorage.getItem(PLACE) ?? '';
  sessionStorage.removeItem(PLACE);
  // Neither the code nor the state is for the history, or for a second try.
  history.replaceState(null, '', location.pathname + place);
  const code = said.get('code');
  if (code === null) return `The provider has refused: ${said.get('error') ?? ''}`;
  try {
    await redeem(code, said.get('state') ?? '', said.get('iss'));
    return '';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
