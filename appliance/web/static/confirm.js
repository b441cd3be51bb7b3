// Changes that matter ask for the password again when it was last given more than a quarter of an hour ago.

import * as api from "./api.js";
import { askDialog } from "./dialogs.js";

/** Makes the call; where the appliance wants to be sure who asks, asks for the password and makes it again. */
export async function confirmed(call) {
  try {
    return await call();
  } catch (error) {
    if (error.code !== "recent_sign_in_needed") throw error;
  }
  await enterPassword("");
  return call();
}

async function enterPassword(problem) {
  const password = await askDialog({
    title: "Is it still you?",
    label: problem || "Your password, before this is changed",
    type: "password",
    autocomplete: "current-password",
    action: "Go on",
  });
  if (!password) throw new DOMException("Not wanted any more", "AbortError");
  try {
    await api.enter("/api/v1/session/confirm", { password });
  } catch (error) {
    if (error.code !== "wrong_credentials") throw error;
    await enterPassword("That was not your password. Try again");
  }
}
