// A provider of OpenID Connect on 127.0.0.1: PORT PAGE, where PAGE is the address that browsers come back
// to. Told "rotate", it signs with other keys from then on. Any password is right; what somebody may do
// is their name.
import http from "node:http";
import readline from "node:readline";

import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [port, page] = process.argv.slice(2);
let server;

// As a library it says much about what is not for production.
console.info = console.warn = () => {};

async function serve(generation) {
  const { privateKey } = await generateKeyPair("RS256", { extractable: true });
  const key = { ...(await exportJWK(privateKey)), kid: `key-${generation}`, alg: "RS256", use: "sig" };
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [
      {
        client_id: "deeptrace",
        client_secret: "the secret of the client",
        redirect_uris: [page],
        grant_types: ["authorization_code"],
        response_types: ["code"],
      },
    ],
    claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
    // Claims of scopes in the ID token, as most providers have them.
    conformIdTokenClaims: false,
    cookies: { keys: ["of a test"] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: `${id} of the shop`, groups: [id] }),
    }),
    jwks: { keys: [key] },
    pkce: { required: () => true },
  });
  server = http.createServer(provider.callback());
  await new Promise((resolve) => server.listen(Number(port), "127.0.0.1", resolve));
}

await serve(1);
console.log("ok");
let generation = 1;
for await (const line of readline.createInterface({ input: process.stdin })) {
  if (line.trim() !== "rotate") {
    console.log(`error what is ${line}?`);
    continue;
  }
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  generation += 1;
  await serve(generation);
  console.log("ok");
}
process.exit(0);
