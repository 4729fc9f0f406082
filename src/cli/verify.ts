import { newCommand, type Run } from "./command.ts";
export function verifyCommand(run: Run) {
  return newCommand({ name: "verify", summary: "x", examples: ["x"], statuses: [] }).action(
    async () => run(async () => ({ json: {}, text: "" })),
  );
}
